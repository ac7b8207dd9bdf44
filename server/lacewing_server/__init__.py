"""The Lacewing server: registers typed tasks, executes them on workers, and memoizes their results."""
