"""The steps of a night, one module each; each reads top to bottom like a sentence.

`ingestion → features → training → validation → promotion → inference → monitoring`. Every module has a function
`run(services, spec, day, …) -> StepReport`, which the DAG, the command line and the tests all call.
"""
