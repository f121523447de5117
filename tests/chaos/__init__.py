"""All that can break is broken, at random moments drawn from a seed, and a judge looks at what is left.

schedule  what happens, a pure function of a seed
play      makes it happen: workers, traffic, faults (``moments``: when; ``diary``: what a worker said)
judge     holds every topic and figure against a run that nothing ever disturbed
results   what was tried and what held, added up over invocations
report    docs/reliability.md, made of the results
"""
