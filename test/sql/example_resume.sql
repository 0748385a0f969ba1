-- The script does CREATE EXTENSION quota itself.
\i examples/resume.sql
