"""The file that `external_plugins` of ms-swift names; `decausal path ms-swift` prints where it is.

ms-swift puts the directory of such a file in front of `sys.path`, so that nothing else may stand in this one.
"""

from decausal.hosts.ms_swift import join_swift

join_swift()
