"""Pictures in, larger pictures out: `Upscaler`, and what `basicsr infer` is made of."""
