"""MGA, "Restore Globally, Refine Locally" (ECCV 2022): base net, mask prediction, refine net on selected patches."""
