"""The steps that bring a database to the newest form of the tables; run by `service.storage.migrating`."""
