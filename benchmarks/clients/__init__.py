"""What people use with OpenAI's API, against the real service: `make clients`.

Each file in `cases/` checks one client, in a process of its own. To add a client, add a file whose `client`
is a `Client`, and put `@client.check` above each function that tries something.
"""
