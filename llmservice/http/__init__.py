"""What the apps share of HTTP: problem documents, strict JSON, fields, the request record. Imports no app."""
