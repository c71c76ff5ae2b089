"""What some office called a column: files in, labelled counts out."""
