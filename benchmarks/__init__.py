"""What shows that FewTune is fast: ratios against what people would use instead.

`python -m benchmarks` lists the tables; a table is a file in `tables/`.
"""
