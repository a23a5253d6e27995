"""What clients send and get, one file a dialect: shapes only, nothing is done here."""
