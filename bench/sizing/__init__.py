"""What a replica needs: the figures of docs/operations.md."""
