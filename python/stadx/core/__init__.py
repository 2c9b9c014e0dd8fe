"""What every package stands on: errors, files, progress, versions, devices, memory."""
