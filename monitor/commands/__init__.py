"""The commands of the monitor, and how it joins the daemon."""
