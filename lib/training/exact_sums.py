def require_exact_sums(f):
    pass
