// pgjdbc: server-prepared statements, batches, fetch sizes, metadata, transactions, errors.
import java.math.BigDecimal;
import java.sql.*;
import java.util.*;

public class Client {
    interface Body { void run(Connection c) throws Exception; }

    static int passed, failed;

    static void test(String name, Body body) {
        String url = "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/client?user=client&prepareThreshold=3";
        try (Connection c = DriverManager.getConnection(url)) {
            body.run(c);
            passed++;
        } catch (Throwable e) {
            failed++;
            System.out.println("FAILED " + name + ": " + e);
            e.printStackTrace(System.out);
        }
    }

    static void equal(Object actual, Object expected) {
        if (!Objects.equals(actual, expected)) throw new AssertionError("expected " + expected + ", got " + actual);
    }

    static void run(Connection c, String sql) throws SQLException {
        try (Statement s = c.createStatement()) { s.execute(sql); }
    }

    static Object one(Connection c, String sql) throws SQLException {
        try (Statement s = c.createStatement(); ResultSet r = s.executeQuery(sql)) { r.next(); return r.getObject(1); }
    }

    public static void main(String[] args) {
        test("values through prepared statements, text and binary", c -> {
            try (PreparedStatement s = c.prepareStatement("SELECT ?::int, ?::bigint, ?::text, ?::numeric(10,2), ?::double precision, ?::bool, ?::date, ?::timestamp")) {
                for (int i = 0; i < 8; i++) {
                    s.setInt(1, i); s.setLong(2, 1L << 40); s.setString(3, "ä" + i); s.setBigDecimal(4, new BigDecimal("12.50"));
                    s.setDouble(5, 0.1); s.setBoolean(6, true); s.setDate(7, java.sql.Date.valueOf("2024-02-29"));
                    s.setTimestamp(8, Timestamp.valueOf("2024-02-29 01:02:03.456789"));
                    try (ResultSet r = s.executeQuery()) {
                        r.next();
                        equal(r.getInt(1), i); equal(r.getLong(2), 1L << 40); equal(r.getString(3), "ä" + i);
                        equal(r.getBigDecimal(4), new BigDecimal("12.50")); equal(r.getDouble(5), 0.1); equal(r.getBoolean(6), true);
                        equal(r.getDate(7).toString(), "2024-02-29"); equal(r.getTimestamp(8).toString(), "2024-02-29 01:02:03.456789");
                    }
                }
            }
        });
        test("batches, transactions and a view", c -> {
            run(c, "CREATE TABLE jdbc_t (id int PRIMARY KEY, v bigint)");
            run(c, "CREATE MATERIALIZED VIEW jdbc_v AS SELECT count(*) AS n, sum(v) AS s FROM jdbc_t");
            c.setAutoCommit(false);
            try (PreparedStatement s = c.prepareStatement("INSERT INTO jdbc_t VALUES (?, ?)")) {
                for (int i = 0; i < 100; i++) { s.setInt(1, i); s.setLong(2, i); s.addBatch(); }
                equal(Arrays.stream(s.executeBatch()).sum(), 100);
            }
            c.commit();
            equal(one(c, "SELECT n FROM jdbc_v"), 100L);
            run(c, "DELETE FROM jdbc_t WHERE id < 50");
            c.rollback();
            equal(one(c, "SELECT s FROM jdbc_v").toString(), "4950");
            Savepoint p = c.setSavepoint("p");
            run(c, "DELETE FROM jdbc_t WHERE id = 0");
            c.rollback(p);
            c.commit();
            equal(one(c, "SELECT n FROM jdbc_v"), 100L);
            c.setAutoCommit(true);
        });
        test("fetch size", c -> {
            c.setAutoCommit(false);
            try (Statement s = c.createStatement()) {
                s.setFetchSize(7);
                long sum = 0;
                try (ResultSet r = s.executeQuery("SELECT id FROM jdbc_t")) { while (r.next()) sum += r.getInt(1); }
                equal(sum, 4950L);
            }
            c.commit();
        });
        test("metadata", c -> {
            DatabaseMetaData m = c.getMetaData();
            equal(m.getDatabaseProductName(), "PostgreSQL");
            List<String> columns = new ArrayList<>();
            try (ResultSet r = m.getColumns(null, "public", "jdbc_t", null)) {
                while (r.next()) columns.add(r.getString("COLUMN_NAME") + " " + r.getString("TYPE_NAME"));
            }
            equal(columns, List.of("id int4", "v int8"));
            Map<String, String> tables = new TreeMap<>();
            try (ResultSet r = m.getTables(null, "public", "jdbc%", null)) {
                while (r.next()) tables.put(r.getString("TABLE_NAME"), r.getString("TABLE_TYPE"));
            }
            equal(tables.get("jdbc_t"), "TABLE");
            equal(tables.get("jdbc_v"), "MATERIALIZED VIEW");
            try (ResultSet r = m.getPrimaryKeys(null, "public", "jdbc_t")) { r.next(); equal(r.getString("COLUMN_NAME"), "id"); }
        });
        test("errors", c -> {
            try { run(c, "INSERT INTO jdbc_t VALUES (1, 1)"); throw new AssertionError("no error"); }
            catch (SQLException e) { equal(e.getSQLState(), "23505"); }
            try { run(c, "SELECT * FROM nowhere"); throw new AssertionError("no error"); }
            catch (SQLException e) { equal(e.getSQLState(), "42P01"); }
            equal(c.isValid(5), true);
        });
        test("end", c -> run(c, "DROP TABLE jdbc_t CASCADE"));
        System.out.println(passed + " passed, " + failed + " failed");
        System.exit(failed == 0 ? 0 : 1);
    }
}
