//! The companion function of a farm: observe, decide, act, explain, once per control interval.
