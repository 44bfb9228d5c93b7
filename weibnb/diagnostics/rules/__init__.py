"""The rules of `weibnb.check`, small functions of `Material` that yield findings.

`values` looks at the weights of single matrices, `lines` at their rows and columns, `copies` for
the same matrix twice, `layers` at a matrix among others, `models` at what belongs together;
`material` holds the matrices, with the `facts` that their counts tell.
"""
