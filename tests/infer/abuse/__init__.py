"""What `basicsr infer` has to survive: damaged and hostile pictures and checkpoints, full disks, kills, odd names."""
