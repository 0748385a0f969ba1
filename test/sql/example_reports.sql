-- The script does CREATE EXTENSION quota itself.
\i examples/reports.sql
