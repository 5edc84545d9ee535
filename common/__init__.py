"""What every room stands on: files, YAML with places, the console, display windows."""
