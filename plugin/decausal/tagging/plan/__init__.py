"""What a recipe will need, before anything is rented: memory of each device, steps, tokens."""
