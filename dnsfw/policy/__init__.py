"""The policy language: text to rules, rules to decisions. Pure, but for reading the file.

`compile.load` and `compile.compile_text` make a `policy.Policy`; everybody else asks that.
"""
