"""What the tests of the promise share: a server that dies and comes back, load that never stops, the store.

`calling` calls and remembers what was answered, `serving` runs `hushar serve`, `stores` reads what was
delivered with boto3 and protobuf alone.
"""
