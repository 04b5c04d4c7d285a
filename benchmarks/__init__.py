"""How fast the service is, against its peers and against what the machine allows."""
