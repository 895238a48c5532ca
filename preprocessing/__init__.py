"""From the user's own images to a dataset directory of TFRecord shards, as one Apache Beam job."""
