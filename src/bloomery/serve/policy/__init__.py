"""Policy: what a business blocks, masks, warns of, sends to review or allows, over a floor that no policy lowers."""
