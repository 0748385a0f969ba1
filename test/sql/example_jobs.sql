-- The script does CREATE EXTENSION quota itself.
\i examples/jobs.sql
