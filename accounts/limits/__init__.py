"""The limits of a key, exact for any number of workers: policy, arithmetic, ledger, admission."""
