"""segsweep: plan, launch and judge sweeps of segmentation trials."""
