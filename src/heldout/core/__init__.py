"""Small, typed parts that everything else stands on."""
