"""What the service is made of: known vulnerabilities and licences of its packages."""
