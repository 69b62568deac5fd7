"""Downloads of data sets: what is to be fetched, the web, archives, the Hub."""
