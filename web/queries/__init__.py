"""What pages read, one module for each thing that is shown."""
