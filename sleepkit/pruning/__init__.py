"""The three levels of pruning: data (BDP), operations (DOP), filters (capacity and independence)."""
