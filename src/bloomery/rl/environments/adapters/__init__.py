"""Other packages' environments, each in a file that runs by path in an interpreter that has the package."""
