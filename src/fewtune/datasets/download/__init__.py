"""Downloads of datasets: what is to be fetched, the web, archives, the Hub."""
