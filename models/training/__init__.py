"""What the networks are trained with: examples of cases, objectives, the perceptual and adversarial loss."""
