"""What is measured, and how: each module says so at its top. Figures and machines are in docs/benchmarks.md."""

import luminoth  # noqa: F401  sets what TensorFlow reads when it is imported, for whoever takes part
