"""Hide every face and license plate in photos. Photos in, anonymized photos out."""
