"""The command line: `mlops --help`.

Exit codes: 0 done (or nothing to do), 1 error, 2 usage, 3 "no" (gate refused, drift found, delivery quarantined) and
"cannot tell".

One rule: commands parse, call one function and print; with `--json` they print that function's record and nothing else.
"""
