"""What a web server is asked, with which credentials, and how its answer is read."""
