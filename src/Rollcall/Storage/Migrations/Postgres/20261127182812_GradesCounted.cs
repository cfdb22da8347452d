using Microsoft.EntityFrameworkCore.Migrations;

#nullable disable

namespace Rollcall.Storage.Migrations.Postgres
{
    /// <inheritdoc />
    public partial class GradesCounted : Migration
    {
        /// <inheritdoc />
        protected override void Up(MigrationBuilder migrationBuilder)
        {
            // Beside those who write, which no transaction can do: a try that was cut short has left one half made.
            migrationBuilder.Sql("DROP INDEX CONCURRENTLY IF EXISTS ix_patrons_district_id_site_id_status_level", suppressTransaction: true);

            migrationBuilder.CreateIndex(
                name: "ix_patrons_district_id_site_id_status_level",
                table: "patrons",
                columns: new[] { "district_id", "site_id", "status", "level" })
                .Annotation("Npgsql:CreatedConcurrently", true);

            // What the new one stands for, and not before it is there.
            migrationBuilder.Sql("DROP INDEX CONCURRENTLY IF EXISTS ix_patrons_district_id_site_id_status", suppressTransaction: true);
        }

        /// <inheritdoc />
        protected override void Down(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.DropIndex(
                name: "ix_patrons_district_id_site_id_status_level",
                table: "patrons");

            migrationBuilder.CreateIndex(
                name: "ix_patrons_district_id_site_id_status",
                table: "patrons",
                columns: new[] { "district_id", "site_id", "status" });
        }
    }
}
