"""What an author asks for, checked and frozen before anything is created."""
