"""What a business allows, masks, has reviewed or blocks at its endpoint."""
