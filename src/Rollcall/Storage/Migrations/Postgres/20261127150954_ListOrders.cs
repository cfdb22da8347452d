using Microsoft.EntityFrameworkCore.Migrations;

#nullable disable

namespace Rollcall.Storage.Migrations.Postgres
{
    /// <inheritdoc />
    public partial class ListOrders : Migration
    {
        /// <inheritdoc />
        protected override void Up(MigrationBuilder migrationBuilder)
        {
            // Beside those who write, which no transaction can do: a try that was cut short has left them half made.
            migrationBuilder.Sql("DROP INDEX CONCURRENTLY IF EXISTS ix_patrons_district_id_community_id", suppressTransaction: true);
            migrationBuilder.Sql("DROP INDEX CONCURRENTLY IF EXISTS ix_patrons_district_id_updated_at", suppressTransaction: true);

            migrationBuilder.CreateIndex(
                name: "ix_patrons_district_id_community_id",
                table: "patrons",
                columns: new[] { "district_id", "community_id" },
                filter: "community_id is not null")
                .Annotation("Npgsql:CreatedConcurrently", true);

            migrationBuilder.CreateIndex(
                name: "ix_patrons_district_id_updated_at",
                table: "patrons",
                columns: new[] { "district_id", "updated_at" })
                .Annotation("Npgsql:CreatedConcurrently", true);
        }

        /// <inheritdoc />
        protected override void Down(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.DropIndex(
                name: "ix_patrons_district_id_community_id",
                table: "patrons");

            migrationBuilder.DropIndex(
                name: "ix_patrons_district_id_updated_at",
                table: "patrons");
        }
    }
}
