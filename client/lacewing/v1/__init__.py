"""Generated messages and stubs of the proto package ``lacewing.v1``; regenerate with ``make proto``."""
