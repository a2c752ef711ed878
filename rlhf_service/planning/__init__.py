"""What a job will need, worked out before it runs. Pure arithmetic, free of torch, but for
`calibrate`, which measures this machine."""
