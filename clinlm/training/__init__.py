"""Lightning modules, losses, teachers and their combination, augmentation, optimizer."""
