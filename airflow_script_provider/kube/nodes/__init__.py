"""A script on nodes: the choice of nodes, the plan, the Jobs of its runs, the result."""
