"""The limits of a key, exact for any number of workers and hosts.

`policy` decides and `gcra` does the arithmetic of rates, both without a database; `ledger` holds the SQL;
`admission` admits and settles requests with them. `settlement` is the account of a request that has ended;
`settler` writes it without making its client wait, and keeps it in `journal` while the database is away.
`endpoint` says which endpoint a request counts for. `attempts` limits callers without a valid key; `headers`
reports the limits to clients; `clock` is the time that all of them use.
"""
