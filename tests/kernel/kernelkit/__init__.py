"""What the tests of the kernel and scripts/fuzz_kernel.py share; nothing of it is learned from the kernel.

`wire` and `requests` make InferenceRequests byte by byte, `values` numbers and strings, `plans`
vectorization configurations, `mutation` damage. `schema` has the messages of CONTRACT.md 1 for
protobuf's parser, `oracle` computes by CONTRACT.md 2 alone, `running` runs implementations and compares.
`splicing` knows what answers and log records must be, `layouts` compares those that are made by what the
kernel says of where their pieces are.
"""
