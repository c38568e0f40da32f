"""What growth costs, one question a file; benches/growth.py asks them."""
